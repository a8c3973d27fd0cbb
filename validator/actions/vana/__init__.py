"""The adapter to Vana from the operator's side: its key, its settings, its preflight, and its running."""
