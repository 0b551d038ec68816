"""Mail that is kept instead of being delivered, until somebody releases it or its time is over."""
