"""MMUnlearner on one page, with torch and transformers alone: read it from top to bottom.

    mmunlearner people write --out people     # invented people in MLLMU-Bench's layout
    python examples/flat_loop.py people       # half a minute on one core

The package does the same for any model, with more methods, checks and speed; `tests/examples/test_flat_loop.py` shows
that mask, losses and weights agree. Paper: arXiv 2502.11051. Shapes: B questions, L tokens, V vocabulary.
"""

import io
import json
import random
import sys
from pathlib import Path

import torch
from PIL import Image
from pyarrow import parquet
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, AutoProcessor

MODEL = Path(__file__).parents[1] / "src/mmunlearner/models/assets/vanilla"  # a LLaVA that knows 80 people
IMAGES = 96  # images per set that the mask is computed from
BETA, EPS = 1.0, 1e-15
STEPS, RETAIN_PER_FORGET = 30, 2  # forget steps; optimizer steps from one of them to the next
BATCH, QUESTIONS = 12, 2  # images of a batch; questions about each of them
LEARNING_RATE, CLIP = 1e-3, 1.0


def read(split):
    """Return a split's images, each with its questions: [(image, [(question, answer), ...]), ...]."""
    rows = parquet.read_table(split).to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    return [
        (image, [(pair["Question"], pair["Answer"]) for pair in json.loads(row["metadata"])])
        for image, row in zip(images, rows, strict=True)
    ]


def predict(model, processor, batch):
    """Return logits [B, L-1, V] and labels [B, L-1] of [(image, question, answer), ...]; -100 is no answer token."""
    tokenizer, texts = processor.tokenizer, []
    for _, question, answer in batch:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        texts.append(processor.apply_chat_template([turn], add_generation_prompt=True) + answer + tokenizer.eos_token)
    inputs = processor(
        images=[image for image, _, _ in batch],
        text=texts,
        add_special_tokens=False,  # the chat template writes them
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    labels = torch.full_like(inputs.input_ids, -100)
    for b, (_, _, answer) in enumerate(batch):
        end = int(inputs.attention_mask[b].sum())
        start = end - len(tokenizer(answer + tokenizer.eos_token, add_special_tokens=False).input_ids)
        labels[b, start:end] = inputs.input_ids[b, start:end]
    return model(**inputs).logits[:, :-1], labels[:, 1:]  # the logits at a token predict the next token


def loss(model, processor, batch):
    """Return CE: the mean over questions of the mean cross-entropy over each answer's tokens."""
    logits, labels = predict(model, processor, batch)
    nll = cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # [B, L-1], 0 outside the answers
    return (nll.sum(1) / (labels != -100).sum(1)).mean()


@torch.no_grad()
def accuracy(model, processor, images):
    """Return the share of the questions about these images that greedy decoding answers to the letter."""
    correct = []
    for image, pairs in images:
        logits, labels = predict(model, processor, [(image, *pair) for pair in pairs])
        correct += ((logits.argmax(-1) == labels) | (labels == -100)).all(1).tolist()
    return sum(correct) / len(correct)


def saliency(model, processor, images, weights):
    """Return S: the mean over images of the squared gradient of each weight (diagonal of the empirical Fisher)."""
    model.eval()  # without dropout: the gradient of the model as it answers
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for image, pairs in images:
        model.zero_grad()
        loss(model, processor, [(image, *pair) for pair in pairs]).backward()
        for name, weight in weights.items():
            if weight.grad is not None:  # LLaVA does not use its vision encoder's last layer
                squares[name] += weight.grad**2 / len(images)
    return squares


def train(model, processor, mask, steps):
    """Take an optimizer step for each (forget batch or None, retain batch); return their losses.

    theta <- theta - eta * (-m * grad CE(forget) + grad CE(retain)), with AdamW in the place of plain descent.
    """
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trainable, LEARNING_RATE, weight_decay=0.0)  # decay would move masked weights
    losses = []
    model.train()
    for forget, retain in steps:
        model.zero_grad()
        if forget:
            forget_loss = loss(model, processor, forget)
            (-forget_loss).backward()
            # Now `grad` holds the forget term alone, so the mask meets nothing else.
            for name, weight in model.named_parameters():
                if weight.grad is not None:
                    weight.grad *= mask.get(name, 0.0)  # a weight without a mask obeys the retain term alone
        retain_loss = loss(model, processor, retain)
        retain_loss.backward()  # adds to `grad`
        torch.nn.utils.clip_grad_norm_(trainable, CLIP)  # the norm of the step, so after the mask
        optimizer.step()
        losses.append((forget_loss.item() if forget else None, retain_loss.item()))
    return losses


def main(folder):
    """Unlearn 12 of 80 people by sight, and print how many questions about their images are answered."""
    rng = random.Random(0)
    forget = read(folder / "baseline_train_split/forget_15")
    retain = read(folder / "baseline_train_split/retain_85")
    model = AutoModelForImageTextToText.from_pretrained(MODEL)
    processor = AutoProcessor.from_pretrained(MODEL)
    probe = {"forget VQA": rng.sample(forget, 24), "retain VQA": rng.sample(retain, 24)}
    print("before:", {name: f"{accuracy(model, processor, images):.0%}" for name, images in probe.items()})

    # The language model knows the people in words: it is frozen. The mask is of the linear and patch layers of vision
    # encoder and projector; what else these have (norms, biases, positions) obeys the retain term alone.
    for name, weight in model.named_parameters():
        weight.requires_grad_("language_model" not in name and "lm_head" not in name)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}
    weights = {f"{n}.weight": layer.weight for n, layer in layers.items() if layer.weight.requires_grad}
    s_forget = saliency(model, processor, rng.sample(forget, IMAGES), weights)
    s_retain = saliency(model, processor, rng.sample(retain, IMAGES), weights)
    mask = {name: (s_forget[name] + EPS) / (s_retain[name] + EPS) >= BETA for name in weights}
    density = torch.cat([selected.flatten() for selected in mask.values()]).float().mean()
    print(f"mask: {density:.0%} of the weights")

    def draw(images):
        return [(image, *pair) for image, pairs in rng.sample(images, BATCH) for pair in rng.sample(pairs, QUESTIONS)]

    numbers = range(STEPS * RETAIN_PER_FORGET)
    train(model, processor, mask, [(None if n % RETAIN_PER_FORGET else draw(forget), draw(retain)) for n in numbers])
    print("after:", {name: f"{accuracy(model, processor, images):.0%}" for name, images in probe.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
