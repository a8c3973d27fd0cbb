"""Vana's data DAOs, one file at a time: discover, judge, prove, claim. Off unless its addresses are configured.

Nothing here is imported by the stages of our own rounds; both share the scorer, the parser, the journal's and the
sender's ways. Keep this module empty: the worker that meets strangers' bytes imports it.
"""
