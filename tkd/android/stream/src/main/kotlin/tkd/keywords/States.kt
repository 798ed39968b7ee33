package tkd.keywords

import java.nio.ByteBuffer

/**
 * One state of the model: what [output] gives after a hop goes into [input] with the next one. [bytes] long; [zero] is
 * the byte that stands for nothing heard.
 */
data class StateFacts(val input: String, val output: String, val bytes: Int, val zero: Int)

/** What the model carries on: two buffers for each state, of which one is read and the other written. No Android here. */
class States(private val facts: List<StateFacts> = Settings.STATES) {
    private var past = facts.map { direct(it.bytes) }
    private var next = facts.map { direct(it.bytes) }

    init {
        reset()
    }

    /** What the model reads for this hop, by the name of the input. */
    fun read(): Map<String, ByteBuffer> = facts.indices.associate { facts[it].input to rewound(past[it]) }

    /** Where the model writes what the next hop reads, by the name of the output. */
    fun written(): Map<String, ByteBuffer> = facts.indices.associate { facts[it].output to rewound(next[it]) }

    /** To the next hop: what was written is what will be read. */
    fun advance() {
        val read = past
        past = next
        next = read
    }

    /** Forgets what was heard. */
    fun reset() {
        for ((place, fact) in facts.withIndex()) {
            for (at in 0 until fact.bytes) past[place].put(at, fact.zero.toByte())
        }
    }

    private companion object {
        fun rewound(buffer: ByteBuffer): ByteBuffer {
            buffer.rewind()
            return buffer
        }
    }
}
