"""Small models of Coqui's, made at random and written as theirs are: they load by the same code, and mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models
from TTS.tts.configs.vits_config import VitsConfig
from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.vits import Vits, VitsArgs
from TTS.tts.models.xtts import Xtts

from chinwag.audio import Audio, Samples
from chinwag.client_sdk.wav import write

LANGUAGES = ("en", "es", "fr", "pt", "hi")
LOUDER = 8.0
"""Random weights are hardly heard."""


def vits(folder: Path, language: str) -> Path:
    """A VITS with one speaker. language: that it claims to speak."""
    torch.manual_seed(3)
    args = VitsArgs(
        init_discriminator=False, hidden_channels=32, hidden_channels_ffn_text_encoder=32, num_layers_text_encoder=1,
        num_layers_flow=1, num_layers_posterior_encoder=1, upsample_initial_channel_decoder=32, use_sdp=False,
        length_scale=6.0,
    )  # fmt: skip
    config = VitsConfig(model_args=args, text_cleaner="multilingual_cleaners", phoneme_language=language)
    model = Vits(config)
    with torch.no_grad():
        model.waveform_decoder.conv_post.weight *= LOUDER
    model.config.save_json(str(folder / "config.json"))
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return folder


def xtts(folder: Path) -> Path:
    """An XTTS of one layer that spells: its vocabulary are letters."""
    special = ["[STOP]", "[UNK]", "[SPACE]", "[START]", *(f"[{language}]" for language in LANGUAGES)]
    vocabulary = {sign: number for number, sign in enumerate([*special, *"abcdefghijklmnopqrstuvwxyz.,!?'"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "vocab.json"))
    torch.manual_seed(0)
    args = XttsArgs(
        gpt_layers=1, gpt_n_model_channels=64, gpt_n_heads=2, gpt_max_audio_tokens=120, gpt_num_audio_tokens=130,
        gpt_start_audio_token=128, gpt_stop_audio_token=129, gpt_use_perceiver_resampler=True, decoder_input_dim=64,
        tokenizer_file=str(folder / "vocab.json"),
    )  # fmt: skip
    config = XttsConfig(model_args=args, languages=list(LANGUAGES))
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=folder / "vocab.json")
    model.init_models()
    config.save_json(str(folder / "config.json"))
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return folder


def somebody(file: Path, pitch: float) -> Path:
    """Four seconds of a hum, as a WAV at 24 kHz."""
    at = np.arange(4 * 24_000) / 24_000
    pcm: Samples = (0.3 * np.sin(2 * np.pi * pitch * at) * (0.6 + 0.4 * np.sin(6 * np.pi * at))).astype(np.float32)
    write(file, Audio(pcm, 24_000))
    return file
