# SPDX-License-Identifier: Apache-2.0
"""nginx over a folder of files: it looks at no signature, and it costs less per object than any client.

So it is what clients are compared on. GET, HEAD, PUT and DELETE of single objects; it knows no listing and no multipart
upload. A PUT is answered with an ETag, because clients expect one; the ETag does not depend on the content. Heads are
sent immediately, nginx's default: with tcp_nopush the last piece of a body sometimes waits for 40 ms.
"""

from __future__ import annotations

import os

from tests.servers import certificates, install
from tests.servers.base import Processes, StaticServer, accepts, free_ports

_CONFIGURATION = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {logs}/error.log;
events {{ worker_connections 4096; }}
http {{
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 3600s;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/data/.incoming;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    map $request_method $stored {{ PUT '"stored"'; default $sent_http_etag; }}
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        root {folder}/data;
        dav_methods PUT DELETE;
        create_full_put_path on;
        add_header ETag $stored;
        {more}
    }}
}}
"""


def start(processes: Processes, more: str = "", http: str = "") -> StaticServer:
    """Starts it and waits until it listens.

    Args:
        more: further configuration of its server.
        http: further configuration outside of the server block, such as maps.
    """
    program = install.locate("nginx") / "usr" / "sbin" / "nginx"
    folder = processes.folder
    root = folder / "data"
    root.mkdir()
    port, tls_port = free_ports(2)
    certificate = certificates.make(folder)
    (folder / "nginx.conf").write_text(
        _CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",  # the scratch folder is its owner's alone
            folder=folder,
            logs=processes.logs,
            port=port,
            tls_port=tls_port,
            chain=certificate.chain,
            key=certificate.key,
            more=more,
            http=http,
        )
    )
    processes.start([program, "-p", folder, "-e", processes.logs / "error.log", "-c", folder / "nginx.conf"])
    processes.wait_until(lambda: accepts(port) and accepts(tls_port))
    return StaticServer(
        "nginx",
        f"http://127.0.0.1:{port}",
        f"https://127.0.0.1:{tls_port}",
        certificate.ca,
        root,
        processes.pids,
        processes.logs,
    )
