# SPDX-License-Identifier: Apache-2.0
"""Proof of identity for each protocol: signing requests, and where the credentials come from.

A signer is a pure function of credentials, request and time. The modules named after a source of credentials
are the only ones here that read files or ask a service, and none of them is on the path of a request's bytes.
"""
