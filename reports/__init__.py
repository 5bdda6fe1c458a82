"""Read result files and answer: which strategy, by how much, and how sure. Never imports torch."""
