"""What each page and its JSON say: from what the chain and the documents hold to the answers of `models`."""
