"""What the station keeps: the flight record in memory, the ledger on disk, pictures."""
