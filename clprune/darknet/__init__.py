"""Darknet's formats: `.cfg` to a `Network`, `.weights` to arrays, and back."""
