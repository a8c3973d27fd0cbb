"""The life of a round with its effects, one file a stage, in the order in which they come:

discover  finalised events into the journal          report   which contributions were fetched and verified, on chain
fetch     envelopes into our store, verified         score    open, parse, judge; the evidence bundle into the store
advance   the calls that anyone may make             commit   a hash of the answer, before anyone shows one
claim     our fee, once the round is past            attest   the answer, signed

Each stage looks at the chain and the journal, does what is due and not yet done, and can be killed at any instant and
run again.
"""
