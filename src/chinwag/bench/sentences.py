"""The sentences of the synthesised corpus. `|` marks a silence.

The words before a silence end in a comma where the sentence is unfinished, so that the voice does not fall.
"""

from __future__ import annotations

PAUSE = "|"

_PLAIN = (
    "What is the capital of France?",
    "Can you tell me a short joke?",
    "How do I boil an egg so that the yolk stays soft?",
    "What should I wear when it rains?",
    "Why is the sky blue?",
    "Please remind me what a prime number is.",
    "How long does it take to fly from London to New York?",
    "Who wrote the play Romeo and Juliet?",
    "What is the difference between a frog and a toad?",
    "Could you explain how a bicycle stays upright?",
    "How many days are there in a leap year?",
    "What is a good way to fall asleep faster?",
    "Tell me something interesting about the moon.",
    "Is it better to run in the morning or in the evening?",
    "Give me one tip for learning to play the guitar.",
    "How do bees make honey?",
    "What is the tallest mountain in the world?",
    "Do you think that I should get a cat or a dog?",
    "Where does chocolate come from?",
    "Good morning.",
    "I had a terrible day at work.",
    "What can I cook with potatoes and eggs?",
    "Yes, I would like that.",
    "How far away is the sun?",
    "I don't really like spicy food.",
    "Which language has the most speakers?",
    "Thank you, that was very helpful.",
    "Why do cats purr?",
    "Tomorrow at nine would be fine.",
    "How do I get from the station to the museum?",
    "My plants keep dying and I don't know why.",
    "What is the opposite of generous?",
    "Sing me a song about winter.",
    "No, the other one.",
    "How much water should I drink every day?",
    "Let us talk about something else.",
    "When was the first photograph taken?",
)

_INSIDE_A_CLAUSE = (
    "I would like to book a table for, | four people on Friday evening.",
    "I was thinking about, | going for a walk in the park this afternoon.",
    "My friend is coming over tonight, and, | I have no idea what to cook.",
    "If I mix blue and yellow paint, | what colour do I get?",
    "I need to write a birthday card for my sister, | who just turned thirty.",
    "Could you explain the difference between, | a virus, and, | a bacterium?",
    "We wanted to go to the beach, but, | then it started to rain.",
    "The thing that I never understood is, | why the days get longer in summer.",
    "I am looking for a recipe with, | rice and chicken, and, | maybe some mushrooms.",
    "Can you remind me to, | call the dentist tomorrow morning?",
    "I left my keys in the, | kitchen, I think, or, | maybe in the car.",
    "What would happen if, | the moon suddenly disappeared?",
    "Please translate the word, | butterfly, into French.",
)
_AFTER_A_FILLER = (
    "So, um, | how tall is the Eiffel Tower?",
    "I want to learn, um, | a new language, but, | I don't have much time.",
    "Is there, um, | a good way to remove coffee stains?",
    "I was wondering, so, | do penguins have knees?",
    "Well, | that depends on, um, | how much it costs.",
)
_DICTATED = (
    "My number is, five five five, | two three four, | nine one one seven.",
    "The code is, four seven, | two nine.",
    "My address is sixteen, | Maple Street.",
    "My name is spelled, B, E, N, | N, E, T, T.",
    "My last name is Novik, that is, N, O, V, | I, K.",
)
_AFTER_A_SENTENCE = (
    "I just moved to Berlin. | What should I see there first?",
    "I have a headache. | Should I drink more water?",
    "My daughter loves dinosaurs. | Which one was the biggest?",
    "It is very hot today. | How can I cool down my room?",
)


def _mixed(plain: tuple[str, ...], paused: tuple[str, ...]) -> tuple[str, ...]:
    """Both kinds spread evenly, and the kinds of pauses too, so that a short run meets some of each."""
    stride = 10  # has no divisor in common with the 27 of them
    left, strided = list(plain), [paused[place * stride % len(paused)] for place in range(len(paused))]
    total = len(plain) + len(paused)
    return tuple(
        (strided if (place + 1) * len(paused) // total > place * len(paused) // total else left).pop(0)
        for place in range(total)
    )


SENTENCES = _mixed(_PLAIN, (*_INSIDE_A_CLAUSE, *_AFTER_A_FILLER, *_DICTATED, *_AFTER_A_SENTENCE))

INTERRUPTIONS = (
    "Wait, stop.",
    "No, I meant tomorrow.",
    "Hang on, what about Sunday?",
    "Sorry, can I ask something else?",
    "Stop, please.",
    "That is not what I asked.",
    "Actually, tell me about cats instead.",
    "Okay, but what does it cost?",
    "Hold on a second.",
    "Can you say that again?",
    "Yeah, but I already knew that.",
    "No, no, the other one.",
)
BACKCHANNELS = ("Yeah.", "Right.", "Okay.", "I see.", "Oh, wow.", "Sure.")
"""Those that the voice can say; it has no "mm-hmm" and no "uh-huh", which are hummed in `noises`."""
