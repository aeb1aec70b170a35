"""Installs radit_jax; `requirements.txt` pins what it was tested with."""

from setuptools import find_packages, setup

CORE = [
    "absl-py>=2.1",
    "array-record>=0.8",
    "etils[epath]>=1.10",
    "flax>=0.12.8",
    "gguf>=0.17",
    "grain>=0.2.18",
    "jax>=0.10,<0.11",
    "jaxtyping>=0.3",
    "jinja2>=3.1",
    "ml-collections>=1.1",
    "numpy>=2",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.12",
    "safetensors>=0.6",
    # ScaNN has no wheels for Windows; the exact index needs none.
    "scann>=1.4.2; sys_platform != 'win32'",
    "tensorboardX>=2.6.4",
    "tokenizers>=0.22",
    "transformers>=5",
]

# Fine-tuning sets and corpora; tensorflow-datasets works without TensorFlow.
DATA = [
    # tensorflow-datasets imports it and does not say so.
    "importlib_resources>=6",
    "mwparserfromhell>=0.7.2",
    "rensa>=0.5,<0.6",
    "tensorflow-datasets>=4.9.10",
]
# Chunking a corpus of a hundred million passages on many workers.
BEAM = ["apache-beam>=2.77"]
# BM25, and the retrieval metrics.
RETRIEVAL = ["bm25s>=0.3.16", "ir-measures>=0.4.3", "PyStemmer>=3"]
# The paper's benchmarks: ROUGE-L, and sets that are kept as Arrow files.
BENCHMARKS = ["pyarrow>=20", "rouge-score>=0.1.2"]
# lm-evaluation-harness, for its hundreds of tasks.
HARNESS = ["lm-eval>=0.4.13"]

# A page to ask and an API, `launch.serve`.
SERVE = ["prometheus-client>=0.22", "starlette>=1", "uvicorn>=0.40"]

EXTRAS = {
    # torch is the reference of the parity tests, and of nothing else.
    # transformers reads GGUF files, our reference for them, with accelerate only.
    "test": [
        *DATA,
        *BEAM,
        *RETRIEVAL,
        *BENCHMARKS,
        *HARNESS,
        *SERVE,
        "accelerate==1.15.0",
        # The pages' tests, in a real browser; axe finds what bars people from them.
        "axe-playwright-python==0.1.8",
        "beartype==0.22.9",
        "peft==0.21.2",
        "playwright==1.65.2",
        "pytest==9.2.0",
        "ruff==0.17.6",
        "sentence-transformers==6.2.0",
        "tensorboard==2.21.0",
        "torch==2.13.0",
    ],
    # What the benchmarks measure against, and draw with.
    "bench": [
        *RETRIEVAL,
        "faiss-cpu==1.15.1",
        "matplotlib==3.11.2",
        "sentence-transformers==6.2.0",
        "torch==2.13.0",
        "zstandard==0.25.0",
    ],
    "data": DATA,
    "beam": BEAM,
    "retrieval": RETRIEVAL,
    "benchmarks": BENCHMARKS,
    "lm-eval": HARNESS,
    "serve": SERVE,
    "tpu": ["jax[tpu]>=0.10,<0.11"],
    "cuda": ["jax[cuda13]>=0.10,<0.11"],
}

setup(
    name="radit_jax",
    version="0.1.0",
    description="RA-DIT (Retrieval-Augmented Dual Instruction Tuning) in JAX",
    license="Apache-2.0",
    packages=find_packages(include=["radit_jax", "radit_jax.*", "launch", "configs"]),
    package_data={
        "radit_jax.evaluation": ["*.jinja", "*.js"],
        "radit_jax.serving": ["*.jinja"],
    },
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require=EXTRAS,
)
