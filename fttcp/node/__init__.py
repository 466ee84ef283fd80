"""The asyncio driver: feeds the core, carries its commands out, answers questions."""
