"""Messages to tokens, one class per prompt format."""
