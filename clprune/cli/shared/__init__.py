"""What commands share: options, errors on one line, tables, progress."""
