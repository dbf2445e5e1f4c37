"""`medmt5 report`: runs beside each other and beside published results."""
