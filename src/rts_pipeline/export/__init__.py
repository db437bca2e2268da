"""The release: what is published of an inventory, in the formats of those who use it, and what tells them about it."""
