package tkd.keywords

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class DetectorTest {
    private val labels = listOf("_silence_", "yes", "no")
    private val yes = floatArrayOf(0.05f, 0.9f, 0.05f)
    private val silence = floatArrayOf(0.98f, 0.01f, 0.01f)

    private fun detector() = Detector(labels, threshold = 0.8f, smoothedHops = 2, refractorySamples = 100)

    @Test
    fun aKeywordIsReportedOnceItsMeanReachesTheThresholdAndThenNotForAWhile() {
        val detector = detector()
        assertNull(detector.add(yes, 10))
        assertEquals("yes", detector.add(yes, 20)?.label)
        assertNull(detector.add(yes, 30))
        assertNull(detector.add(yes, 119))
        assertEquals(120L, detector.add(yes, 120)?.atSample)
    }

    @Test
    fun silenceIsNoKeywordHoweverSureTheModelIs() {
        val detector = detector()
        for (hop in 1L..20L) assertNull(detector.add(silence, hop))
    }

    @Test
    fun oneHopAloneDoesNotReachTheMean() {
        val detector = detector()
        assertNull(detector.add(silence, 1))
        assertNull(detector.add(yes, 2))
        assertNull(detector.add(silence, 3))
    }

    @Test
    fun probabilitiesOfOneLabelSumToOne() {
        val seen = probabilitiesOf(FloatArray(Settings.LABELS.size) { it.toFloat() })
        if (!Settings.HAS_SEVERAL_LABELS) assertEquals(1f, seen.sum(), 1e-5f)
    }
}
