"""What runs in place of each aten operator, and the one table (table.py) that names them all."""
