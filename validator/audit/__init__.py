"""The same round seen by a stranger, at four levels, each including those before it:

1 verify    signatures, quorum, domain, seed, trees, totals and payouts against the chain
2 refetch   every included envelope fetched again and hashed
3 rescore   opened and scored again with the published probes
4 refit     probes fitted again from manifest and seed, then scored: the same bytes, or the first difference by name
"""
