"""From files to batches of pixels: decoding, batching, colour, rendering, views."""
