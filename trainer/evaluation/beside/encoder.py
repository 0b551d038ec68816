"""An encoder from a folder in the hub's layout (BERT, MiniLM, …): fine-tuned, or frozen under a line.

The folder holds config.json, the tokenizer and model.safetensors; nothing is fetched, nothing of it is run
as code, and pickled weights are not read. transformers reads it: `pip install '.[encoders]'`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from filterd.errors import BadInput, ConfigError, NotFound
from filterd_trainer.evaluation.beside import loop

MOST_TOKENS = 128  # of a message, as the recipes of ours have it
BATCH = 16  # Devlin et al. 2019, appendix A.3: 16 or 32, 2e-5 to 5e-5, 2 to 4 epochs
RATE = 3e-5
EPOCHS = 3
AT_ONCE = 64  # messages a pass when judging


class TextEncoder(nn.Module):
    """Messages to vectors: the mean of what the encoder makes of their tokens."""

    def __init__(self, folder: Path) -> None:
        """Raises NotFound, BadInput, and ConfigError without transformers."""
        super().__init__()
        if not (folder / "config.json").is_file():
            raise NotFound(f"{folder}: no config.json; name an encoder's folder in the hub's layout")
        try:
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ConfigError(
                f"an encoder needs transformers ({error}): pip install '.[encoders]'"
            ) from error
        # Of reading a file, within a command that has a bar of its own.
        disable_progress_bar()  # type: ignore[no-untyped-call]
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokens = AutoTokenizer.from_pretrained(folder, **here)
            self.body = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **here)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as error:
            raise BadInput(f"{folder}: transformers cannot read it ({_line(error)})") from error
        if self._tokens.pad_token is None:
            self._tokens.pad_token = self._tokens.eos_token
        self.width: int = self.body.config.hidden_size

    def forward(self, texts: Sequence[str]) -> Tensor:
        """[B, C]."""
        most = min(MOST_TOKENS, getattr(self.body.config, "max_position_embeddings", MOST_TOKENS))
        rows = self._tokens(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
        states = self.body(
            input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]
        ).last_hidden_state  # [B, T, C]
        real = rows["attention_mask"][:, :, None].to(states.dtype)
        mean: Tensor = (states * real).sum(1) / real.sum(1).clamp(min=1)
        return mean


class FrozenEncoder:
    """Logistic regression on an encoder's vectors, as a classifier like scikit-learn's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fit(self, texts: Sequence[str], truth: Sequence[int]) -> "FrozenEncoder":
        """Fit the line; the encoder stays."""
        from sklearn.linear_model import LogisticRegression

        self.encoder = TextEncoder(self._folder).eval()
        self.line = LogisticRegression(max_iter=1000).fit(self._vectors(texts), truth)
        self.classes_ = self.line.classes_
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """[n, classes]."""
        return np.asarray(self.line.predict_log_proba(self._vectors(texts)), dtype=np.float64)

    def _vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found = [self.encoder(texts[i : i + AT_ONCE]).numpy() for i in range(0, len(texts), AT_ONCE)]
        return np.concatenate(found)


class TunedEncoder:
    """An encoder whose weights all train, under a fresh linear layer."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self._folder, self._seed = folder, seed

    def fit(self, texts: Sequence[str], truth: Sequence[int]) -> "TunedEncoder":
        """Train with AdamW, the rate falling to zero in a line as in BERT's fine-tuning."""
        self.classes_, targets = np.unique(np.asarray(truth), return_inverse=True)
        labels = torch.from_numpy(targets)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.encoder = TextEncoder(self._folder)
            self.head = nn.Linear(self.encoder.width, len(self.classes_))
            trained = [*self.encoder.parameters(), *self.head.parameters()]
            optimizer = torch.optim.AdamW(trained, lr=RATE)
            steps = EPOCHS * -(-len(texts) // BATCH)
            falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / steps, total_iters=steps)
            self.encoder.train()
            loop.fit(self._logits, texts, labels, optimizer, epochs=EPOCHS, batch=BATCH, after=falling.step)
        self.encoder.eval()
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """[n, classes]."""
        return loop.log_shares(self._logits, texts, AT_ONCE)

    def _logits(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self.head(self.encoder(texts))
        return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
