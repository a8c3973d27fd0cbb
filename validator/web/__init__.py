"""What people see in a browser: rounds, scores, proofs and payments, each checked in front of the reader.

Read-only and server-rendered; the same answers as JSON under /api, and health and metrics of a running node. The server
holds no key and trusts neither its RPC nor its content source further than the audit does.
"""
