"""`medmt5 plan`: will a recipe fit on chips that are not here, how fast, for how much."""
