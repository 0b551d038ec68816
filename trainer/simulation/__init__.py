"""A replay of a site's days: users, arms, figures."""
