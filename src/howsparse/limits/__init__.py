"""How sparse can it go: the one-shot, the paper's and the re-tuned limit."""
