"""What a person sets going: the steward founds a DAO, an operator joins, a contributor submits, looks up and claims.

Commands and the demonstration put words around these functions; nothing here prints.
"""
