package tkd.keywords

import kotlin.math.exp

/** Softmax where a clip has one label, sigmoid where it may have several. */
internal fun probabilitiesOf(logits: FloatArray): FloatArray {
    if (Settings.HAS_SEVERAL_LABELS) return FloatArray(logits.size) { 1 / (1 + exp(-logits[it])) }
    var largest = logits[0]
    for (logit in logits) largest = maxOf(largest, logit)
    val powers = FloatArray(logits.size) { exp(logits[it] - largest) }
    val total = powers.sum()
    return FloatArray(powers.size) { powers[it] / total }
}
