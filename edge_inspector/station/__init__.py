"""All concurrency of the station: every task and thread, retry, deadlines and shutdown."""
