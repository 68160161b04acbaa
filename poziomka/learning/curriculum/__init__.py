"""Selection of training problems: order, difficulty levels and prompt lengths."""
