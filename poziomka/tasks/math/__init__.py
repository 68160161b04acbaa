"""Mathematics tasks with one right answer: grade school and competitions."""
