"""Ways to train few weights in place of all."""
