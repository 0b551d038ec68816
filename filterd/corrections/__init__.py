"""What people said about messages: kept durably, and learned from at once."""
