"""The loop and what stands around it; sees the contract of `task.py`, never a part."""
