"""Plain questions and sentences, about nobody: a language model rehearses them, and is measured on those held out."""

from __future__ import annotations

QUESTIONS = (
    "What is the capital of Italy?", "How do I boil an egg?", "Why is the sky blue?",
    "Tell me a short story about a dog.",
    "What is the largest ocean?", "Give me three tips for sleeping well.", "What does a doctor do?",
    "How many days are in a week?", "Write a sentence about the sea.", "What is photosynthesis?",
    "Who wrote Romeo and Juliet?", "How do plants drink water?", "What is a good name for a cat?",
    "Explain what a computer is.", "What should I wear in the rain?", "What is the opposite of happy?",
    "How far is the moon?", "Describe a mountain in winter.", "What is two plus three?", "Why do birds fly south?",
    "What is bread made of?", "How can I learn to swim?", "Name three fruits.", "What is the purpose of a map?",
    "Which animal barks?", "What is a river?", "How do I make tea?", "Write a greeting for a friend.",
    "What colour do you get from blue and yellow?", "What is the capital of Japan?", "Why do we need sleep?",
    "What is the fastest land animal?", "How does a bicycle work?", "Give me an idea for dinner.",
    "What is a prime number?", "Tell me about the planet Mars.", "What is music?", "How do bees make honey?",
    "What is the smallest month?", "Describe your favourite season.", "What do cows eat?", "What is an island?",
    "How do I write a letter?", "What is ice?", "Why is exercise good for us?", "Where do penguins live?",
    "What is a teacher?", "How is paper made?",
)  # fmt: skip
"""Questions that the pretrained model answers itself, for rehearsal."""

BEGINNINGS = (
    "The old house at the end of the street", "In the morning the fishermen", "Scientists have found that",
    "When it began to rain", "The history of the city", "My grandmother always", "A good library", "The train was late",
    "Most plants need", "At the market you can buy", "The first time I saw snow", "Many people believe that",
    "The engine of the car", "During the summer holidays", "The committee decided", "Water is important because",
    "On the other side of the river", "The children were playing", "To build a strong bridge", "Last year the company",
    "The best way to cook rice", "Far away in the forest", "The museum shows", "Although the weather was cold",
)  # fmt: skip
"""Beginnings of texts that the pretrained model goes on with, for rehearsal."""

HELD_OUT_QUESTIONS = (
    "What is the capital of France?", "Which animal says meow?", "What is the opposite of cold?",
    "How do I clean a window?", "What is the largest planet?", "Why do leaves fall in autumn?",
    "Name two colours of the rainbow.", "What is a desert?",
)  # fmt: skip
"""Questions whose answers are shown before and after; nothing is trained on them."""

HELD_OUT = (
    "The baker opens his shop at six o'clock, long before most people in the village are awake.",
    "If you heat water enough, it turns into steam and rises into the air.",
    "She put the letter on the table, took her coat, and left without a word.",
    "The two brothers had walked for hours before they saw the lights of the town.",
    "A year has twelve months, and February is the shortest of them.",
    "The government announced new rules for small businesses on Monday.",
    "Trees along the road gave shade to the travellers during the hot afternoon.",
    "He learned to play the piano when he was seven, and never stopped.",
    "The bridge was closed for repairs, so the bus had to take a longer way.",
    "In spring the birds come back and build their nests under the roof.",
    "The team lost the first game but won the three that followed.",
    "You can store apples in a cool, dark place for several weeks.",
    "The lake was so clear that we could count the stones at the bottom.",
    "After the meeting the manager thanked everybody for their hard work.",
    "Bread, cheese and a bottle of water were all that they carried.",
    "The doctor told him to rest, drink a lot of tea, and stay in bed for three days.",
)
"""Plain English on which the perplexity is measured; nothing is trained on it."""
