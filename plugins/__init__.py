"""Plugins of filterd: each folder speaks one mail or SMS program's language."""
