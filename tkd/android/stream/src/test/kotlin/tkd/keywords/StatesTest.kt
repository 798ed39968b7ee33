package tkd.keywords

import org.junit.Assert.assertEquals
import org.junit.Test

class StatesTest {
    private val facts = listOf(StateFacts("past_a", "next_a", bytes = 4, zero = 0), StateFacts("past_b", "next_b", 2, -7))

    @Test
    fun beforeTheFirstHopEveryStateIsWhatStandsForNothing() {
        val read = States(facts).read()
        assertEquals(setOf("past_a", "past_b"), read.keys)
        assertEquals(0, read.getValue("past_a").getInt(0))
        assertEquals(-7, read.getValue("past_b").get(1).toInt())
    }

    @Test
    fun whatAHopWritesTheNextOneReads() {
        val states = States(facts)
        states.written().getValue("next_b").put(0, 42)
        assertEquals(-7, states.read().getValue("past_b").get(0).toInt())
        states.advance()
        assertEquals(42, states.read().getValue("past_b").get(0).toInt())
    }

    @Test
    fun aResetForgetsIt() {
        val states = States(facts)
        for (hop in 1..3) {
            states.written().getValue("next_a").putInt(0, hop)
            states.advance()
        }
        states.reset()
        assertEquals(0, states.read().getValue("past_a").getInt(0))
    }

    @Test
    fun theModelsOwnStatesHaveRoom() {
        for (fact in Settings.STATES) assertEquals(fact.bytes, States().read().getValue(fact.input).capacity())
    }
}
