"""Does our reader agree with real TensorFlow? Writes OpenAI's graph with TensorFlow, reads it without, compares logits.

Needs TensorFlow beside fourhorn (`pip install tensorflow-cpu`, best in an environment of its own):

    python benchmarks/checkpoints_tensorflow.py write FOLDER     with TensorFlow: checkpoint and logits
    python benchmarks/checkpoints_tensorflow.py read FOLDER      with fourhorn: largest difference of the logits
    python benchmarks/checkpoints_tensorflow.py restore FOLDER   with TensorFlow: restores a folder that fourhorn wrote

The folder that `write` makes at its default size is the fixture in tests/checkpoints/fixtures/tensorflow.
"""

import json
import sys
from pathlib import Path

from table import write_table

SIZES = {"n_vocab": 261, "n_ctx": 12, "n_embd": 4, "n_head": 2, "n_layer": 2}
TOKENS = [[5, 260, 17, 3, 99, 100, 256, 0, 41, 7, 7, 255], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]


def graph(tf, sizes, tokens):
    """GPT-2 in TensorFlow 1's way, with the variable names of the release."""
    n_embd, n_head = sizes["n_embd"], sizes["n_head"]
    seeds = iter(range(1, 10_000))

    def variable(name, shape, around=0.0):
        start = tf.random_normal_initializer(mean=around, stddev=0.2, seed=next(seeds))
        return tf.get_variable(name, shape, initializer=start)

    def norm(x, scope):
        with tf.variable_scope(scope):
            g, b = variable("g", [n_embd], 1.0), variable("b", [n_embd])
            mean = tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(tf.square(x - mean), axis=-1, keepdims=True)
            return (x - mean) * tf.math.rsqrt(variance + 1e-5) * g + b

    def conv(x, scope, n_out):
        with tf.variable_scope(scope):
            w, b = variable("w", [1, x.shape[-1], n_out]), variable("b", [n_out])
            return tf.tensordot(x, w[0], 1) + b

    def heads(x):
        batch, length, width = x.shape
        return tf.transpose(tf.reshape(x, [batch, length, n_head, width // n_head]), [0, 2, 1, 3])

    def attention(x):
        q, k, v = (heads(part) for part in tf.split(conv(x, "c_attn", 3 * n_embd), 3, axis=2))
        scores = tf.matmul(q, k, transpose_b=True) * tf.math.rsqrt(float(n_embd // n_head))
        length = x.shape[1]
        mask = tf.linalg.band_part(tf.ones([length, length]), -1, 0)
        weights = tf.nn.softmax(scores * mask - 1e10 * (1 - mask))
        mixed = tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3])
        return conv(tf.reshape(mixed, x.shape), "c_proj", n_embd)

    def mlp(x):
        h = conv(x, "c_fc", 4 * n_embd)
        h = 0.5 * h * (1 + tf.tanh(0.7978845608028654 * (h + 0.044715 * tf.pow(h, 3))))
        return conv(h, "c_proj", n_embd)

    with tf.variable_scope("model"):
        wpe = variable("wpe", [sizes["n_ctx"], n_embd])
        wte = variable("wte", [sizes["n_vocab"], n_embd])
        x = tf.gather(wte, tokens) + wpe[: len(tokens[0])]
        for layer in range(sizes["n_layer"]):
            with tf.variable_scope(f"h{layer}"):
                y = norm(x, "ln_1")
                with tf.variable_scope("attn"):
                    x = x + attention(y)
                y = norm(x, "ln_2")
                with tf.variable_scope("mlp"):
                    x = x + mlp(y)
        return tf.matmul(norm(x, "ln_f"), wte, transpose_b=True)


def write(folder):
    """With TensorFlow: a checkpoint and its logits."""
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    logits = graph(tf, SIZES, TOKENS)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(folder / "model.ckpt"))
        values = session.run(logits)
    (folder / "model.ckpt.meta").unlink()  # the graph, 114 kB: nothing reads it
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    (folder / "hparams.json").write_text(json.dumps(SIZES))
    kept = {"tensorflow": tf.__version__, "tokens": TOKENS, "logits": [[[round(float(v), 6) for v in row[::20]]
            for row in text] for text in values]}  # fmt: skip
    (folder / "logits.json").write_text(json.dumps(kept))
    print(f"TensorFlow {tf.__version__} wrote {sorted(path.name for path in folder.iterdir())}")


def read(folder):
    """With fourhorn: read the checkpoint and compare."""
    import torch

    from fourhorn.checkpoints import native, openai

    kept = json.loads((folder / "logits.json").read_text())
    model = native.model_of(openai.read(folder))
    with torch.no_grad():
        logits = model(torch.tensor(kept["tokens"]))[:, :, ::20]
    difference = float((logits - torch.tensor(kept["logits"])).abs().max())
    row = [f"TensorFlow {kept['tensorflow']}, whose checkpoint this is", f"{difference:.1e}"]
    head = ["rival", "largest difference of a logit"]
    write_table(__file__, "A TensorFlow checkpoint", head, [row], [f"torch {torch.__version__}."])


def restore(folder):
    """With TensorFlow: restore what fourhorn wrote and compare with the logits beside it."""
    import numpy as np
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    sizes = json.loads((folder / "hparams.json").read_text())
    kept = json.loads((folder / "logits.json").read_text())
    logits = graph(tf, sizes, kept["tokens"])
    with tf.Session() as session:
        tf.train.Saver().restore(session, tf.train.latest_checkpoint(str(folder)))
        values = session.run(logits)[:, :, ::20]
    print(
        f"TensorFlow {tf.__version__} restored it; largest difference {np.abs(values - kept['logits']).max():.2e}"
    )


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    {"write": write, "read": read, "restore": restore}[sys.argv[1]](target)
