package tkd.keywords

import org.junit.Assert.assertEquals
import org.junit.Test

class WindowTest {
    @Test
    fun theWindowHoldsTheLastSamples() {
        val window = Window()
        window.push(ShortArray(Settings.HOP_SAMPLES) { 16384 })
        assertEquals(0f, window.samples[Settings.SAMPLES - Settings.HOP_SAMPLES - 1], 0f)
        assertEquals(0.5f, window.samples[Settings.SAMPLES - 1], 1e-6f)
        assertEquals(Settings.HOP_SAMPLES.toLong(), window.pushed)
    }
}
