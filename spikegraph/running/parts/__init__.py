"""Networks in parts: blocks of rows, one after the other or in several processes."""
