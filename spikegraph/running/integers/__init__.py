"""Networks in integers."""
