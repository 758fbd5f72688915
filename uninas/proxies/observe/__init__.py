"""What several proxies look at: activations, gradients, blocks."""
