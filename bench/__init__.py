"""What a run costs, side by side with the published procedure: `make bench`."""
