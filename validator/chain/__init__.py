"""The chain room: endpoints, contracts, events, transactions and keys. Knows nothing of scoring or of rounds' rules."""
