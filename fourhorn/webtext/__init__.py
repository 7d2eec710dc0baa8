"""§2.1: WebText, from a Reddit link to clean shards."""
