"""The habit of Llama 2's tokenizer.json of 2023: a space before every text."""

from tokenizers import decoders, normalizers


def add(backend) -> None:
    """The normalizer puts it, as "▁"; the decoder takes it off again."""
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
