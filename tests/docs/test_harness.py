# SPDX-License-Identifier: Apache-2.0
"""The harness must fail where a page is wrong: a harness that lets everything pass proves nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.harness import PageError, blocks, run_page, substituted

FAILING = [
    ("an unknown kind", "```sh\ntrue\n```\n", "line 1: a block of the kind 'sh'"),
    ("no kind", "text\n```\ntrue\n```\n", "line 2: a block of the kind ''"),
    ("a tilde fence", "~~~perl\ntrue\n~~~\n", "kind 'perl'"),
    ("not closed", "```python\npass\n", "line 1: the block is not closed"),
    ("an indented block", "- item\n\n      of the list\n\nText:\n\n    true\n", "line 7: an indented block"),
    ("a command as text", "```text\nmake test\n```\n", "looks like a command"),
    ("python that raises", "```python\n\nraise ValueError('wrong')\n```\n", r"at line 2:\n.*line 3.*ValueError: wrong"),
    ("bash that fails", "```bash\nfalse\ntrue\n```\n", "exit status 1"),
    ("bash without a variable", "```bash\necho $NO_SUCH_VARIABLE\n```\n", "NO_SUCH_VARIABLE: unbound"),
    ("another output", "```python\nprint(1)\n```\n```output\n2\n```\n", r"at line 5:.*the page says\n2\nbut.*\n1\n"),
    ("output of nothing", "```output\n2\n```\n", "no block before this output"),
    ("another answer", "```console\n$ echo a\nb\n```\n", r"the page says\nb\n"),
    ("console without command", "```console\necho\n```\n", "begins with a command"),
    ("yaml that is none", "```yaml\na: [\n```\n", "while parsing"),
    (
        "a way out",
        "```python\nimport socket\nsocket.create_connection(('192.0.2.1', 80), 1)\n```\n",
        "leave the machine",
    ),
]


@pytest.mark.parametrize(("page", "reason"), [row[1:] for row in FAILING], ids=[row[0] for row in FAILING])
def test_a_wrong_page_fails(page: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(page)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(PageError) as error:
        run_page(path, folder)
    assert re.search(reason, str(error.value), re.DOTALL)


def test_blocks_of_a_page_share_names_variables_and_a_folder(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        """
1. In a list:

   ```bash
   export COLOUR=blue
   echo content > file
   ```

```python
import os
text = open("file").read()
```

```python
print(os.environ["COLOUR"], text, os.getcwd() == os.environ["HOME"])
```

```output
blue content
... True
```

```console
$ cat file
content
$ true
$ echo "/tmp/x"
/tmp/x
```
"""
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    run_page(page, folder)
    assert (folder / "file").exists()
    assert len(blocks(page.read_text())) == 5


def test_substitutions_are_made_in_one_pass_the_longest_first() -> None:
    assert substituted("ab a b", {"a": "b", "b": "a", "ab": "X"}) == "X b a"
