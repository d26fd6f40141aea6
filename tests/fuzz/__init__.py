"""`make fuzz`: files as a stranger could make them, read as a user's command reads them."""
