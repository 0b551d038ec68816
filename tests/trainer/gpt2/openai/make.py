"""Made the files beside it, with tensorflow-cpu: `python make.py`. TensorFlow is no dependency of ours."""

import json
import math
from pathlib import Path

import tensorflow as tf

HERE = Path(__file__).parent
V, T, C, L, H = 97, 16, 8, 2, 2

tf1 = tf.compat.v1
tf1.disable_eager_execution()
shapes: dict[str, list[int]] = {"wte": [V, C], "wpe": [T, C], "ln_f/g": [C], "ln_f/b": [C]}
for i in range(L):
    for name, rows, columns in (
        ("attn/c_attn", C, 3 * C),
        ("attn/c_proj", C, C),
        ("mlp/c_fc", C, 4 * C),
        ("mlp/c_proj", 4 * C, C),
    ):
        shapes |= {f"h{i}/{name}/w": [1, rows, columns], f"h{i}/{name}/b": [columns]}
    for name in ("ln_1", "ln_2"):
        shapes |= {f"h{i}/{name}/g": [C], f"h{i}/{name}/b": [C]}
for number, (name, shape) in enumerate(sorted(shapes.items())):
    count = math.prod(shape)
    values = [number + j * 2.0**-10 for j in range(count)]
    tf1.get_variable(f"model/{name}", initializer=tf.reshape(tf.constant(values, tf.float32), shape))
with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    tf1.train.Saver().save(session, str(HERE / "model.ckpt"), write_meta_graph=False)
(HERE / "checkpoint").unlink(missing_ok=True)
sizes = {"n_vocab": V, "n_ctx": T, "n_embd": C, "n_head": H, "n_layer": L}
(HERE / "hparams.json").write_text(json.dumps(sizes) + "\n")
