"""Delivered PlanetScope items: finding them, measuring them, and accounting for every file."""
